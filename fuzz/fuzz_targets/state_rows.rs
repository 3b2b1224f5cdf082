#![no_main]

weir_fuzz::target!(state_rows);
