//! Other LMDB programs and a mount on one environment at the same time, and environments as they are found in the
//! wild.

mod crowd;
mod exchange;
mod kinds;
mod shortage;
