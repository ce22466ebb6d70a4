//! Smart cards and USB tokens: cards with an application that this module knows, in readers.

#[allow(dead_code)]
mod device;
#[allow(dead_code)]
mod pcsc;
#[allow(dead_code)]
mod transport;
