//! The covariance matrix adaptation evolution strategy: a normal distribution that moves to where losses are low.

pub mod choices;
pub mod distribution;
pub mod margin;
pub mod rates;
pub mod run;
