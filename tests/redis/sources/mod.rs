//! Every source block against a real redis-server, with keys laid out by hand as the frameworks lay them out: what is
//! observed in whole, and what becomes of it when a key is of another type, may not be read, or is not there.
//!
//! `blocks` is the table of layouts, `losses` takes the keys of each away one after another; `streams` has the lags that
//! Redis does not know or gets wrong, `patterns` the walks through a database. The real libraries are elsewhere
//! (`frameworks`).

mod blocks;
mod layouts;
mod losses;
mod patterns;
mod rig;
mod streams;
