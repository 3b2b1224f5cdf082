#![no_main]

weir_fuzz::target!(ndjson_log);
