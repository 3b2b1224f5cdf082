#![no_main]

weir_fuzz::target!(day_index);
