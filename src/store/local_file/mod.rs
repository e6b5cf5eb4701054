//! What a store has that is one file of this machine, replaced as a whole: links to it are followed and stay, mode, owner and
//! extended attributes are taken over, who reads the old file keeps it, and a kill at any time leaves the old file or the new.
//!
//! | file | holds |
//! |---|---|
//! | `place` | the folder that it is in, and what tells its versions apart |
//! | `rights` | whether it can be replaced |
//! | `draft` | the new file |
//! | `lock` | one daemon at a time |

pub(super) mod draft;
pub(super) mod lock;
pub(super) mod place;
pub(super) mod rights;
