#![no_main]

weir_fuzz::target!(cluster);
