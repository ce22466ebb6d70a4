//! Smart cards and USB tokens: cards with an application that this module knows, in readers.

mod transport;
