//! What the commands do to a real mount: background and foreground, unmounting in every way, exec, who may do what.

mod exec;
mod mounting;
