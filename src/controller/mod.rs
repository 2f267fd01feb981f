//! The shell of a cluster: what `activation-operator run` does with an API server.
//!
//! ```text
//! watches -> dereference -> shelf -> shell: a look at all of it -> driver -> statuses, events, finalizers
//! (what is)  (I/O, one       (what      (pure: stock)             (fleet)
//!             resource)       was found)
//! ```
//!
//! In reading order: [`scope`] says what is watched. [`watches`] shows resources, [`surroundings`] what they refer to;
//! [`dereference`] looks for it, one resource at a time, within an [`attempt`]; [`stock`] decides what of it the next pass may
//! see. [`shell`] passes, and [`tell`]s what comes of it: statuses through [`publish`], the one writer, and [`events`].

pub mod attempt;
pub mod backoff;
pub mod dereference;
pub mod events;
pub mod finalizer;
pub mod publish;
pub mod references;
pub mod refusals;
pub mod scope;
pub mod shelf;
pub mod shell;
pub mod stock;
pub mod surroundings;
pub mod tell;
pub mod trouble;
pub mod watches;
