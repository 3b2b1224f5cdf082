#![no_main]

weir_fuzz::target!(planted);
