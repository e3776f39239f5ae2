//! Where rules come from. The only part of the crate that touches the world; behind features.

#[cfg(feature = "file")]
pub mod access_file;
#[cfg(feature = "file")]
pub mod file;
