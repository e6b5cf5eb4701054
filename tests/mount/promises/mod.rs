//! One test or more for each sentence of SEMANTICS.md that holds for `memory` and `lmdb`, named by its number.

mod attributes;
mod coherence;
mod commits;
mod coverage;
mod damage;
mod directories;
mod failure;
mod handles;
mod listings;
mod names;
mod reading;
mod spelling;
mod spool;
mod writing;
