#![doc = include_str!("README.md")]

/// The project's README, so that its code is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
