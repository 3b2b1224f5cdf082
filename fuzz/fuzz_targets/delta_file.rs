#![no_main]

weir_fuzz::target!(delta_file);
