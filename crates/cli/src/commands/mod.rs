//! The commands, one file each, named as they are typed.

pub mod agent;
pub mod alloc;
pub mod artifacts;
pub mod best;
pub mod check;
pub mod cluster;
pub mod compare;
pub mod completions;
pub mod config;
pub mod control;
pub mod coordinator;
pub mod dev;
pub mod edit;
pub mod enqueue;
pub mod events;
pub mod explain;
pub mod export;
pub mod init;
pub mod logs;
pub mod ls;
pub mod quota;
pub mod reproduce;
pub mod retry;
pub mod rm;
pub mod run;
pub mod schema;
pub mod show;
pub mod simulate;
pub mod submit;
pub mod tls;
pub mod token;
pub mod trial;
pub mod trials;
pub mod watch;

mod named;
mod series;
