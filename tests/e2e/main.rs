//! The whole of Heats from the outside: real processes, real scripts, real files. Each test has a folder of its
//! own. What a test waits for it awaits; nothing here depends on how fast the machine is.

mod alloc;
mod artifacts;
mod asha;
mod audit;
mod bad_trials;
mod checkpoints;
mod code;
mod confirm;
mod containers;
mod dev;
mod enough;
mod environments;
mod examples;
mod fronts;
mod gangs;
mod gpus;
mod groups;
mod logs;
mod notices;
mod output;
mod population;
mod preempting;
mod promotion;
mod refusals;
mod reproduce;
mod retries;
mod series;
mod training;
mod warm;
mod warm_starts;
