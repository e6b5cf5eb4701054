//! One test or more for each sentence of SEMANTICS.md that holds for `memory` and `lmdb`, named by its number.

mod attributes;
mod calls;
mod coherence;
mod commits;
mod copying;
mod coverage;
mod damage;
mod directories;
mod exchanging;
mod failure;
mod handles;
mod lasting;
mod listings;
mod names;
mod reading;
mod scratch;
mod space;
mod spelling;
mod spool;
mod writing;
