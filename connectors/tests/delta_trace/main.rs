//! What the search for the rows of one ad must find: the same as a plain loop over all rows that were written, whoever
//! wrote the files, reading little of them; and never anything from damaged bytes but an error.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod damage;
mod figures;
mod foreign;
mod search;
mod table;
