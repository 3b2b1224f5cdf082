#![no_main]

weir_fuzz::target!(page_header);
