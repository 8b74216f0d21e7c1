//! The step that holds the Kubernetes manifests against the schemas of the resources that they describe, strictly: a field
//! that no version of Kubernetes knows is a mistake.
//!
//! Looks at the manifests as they are in the tree. That the Helm chart still comes to them needs Helm: see
//! `deploy/kubernetes/README.md`.

use anyhow::Result;

use super::python::{REQUIREMENTS, environment};
use crate::repo::Repo;
use crate::run::program;
use crate::step::Step;
use crate::tally::Tally;

const MANIFESTS: &str = "deploy/kubernetes/heats.yaml";
/// One that was new in 2023, and the newest that the validator knows.
const VERSIONS: [&str; 2] = ["1.29", "1.37"];

pub struct Manifests;

impl Step for Manifests {
    fn name(&self) -> &'static str {
        "manifests"
    }

    fn about(&self) -> &'static str {
        "the Kubernetes manifests are what the schemas of their resources say"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let python = environment(&repo.target, "python-venv", REQUIREMENTS)?;
        let mut tally = Tally::default();
        for version in VERSIONS {
            let args = ["-m", "kubernetes_validate", "--strict", "--quiet", "--kubernetes-version", version, MANIFESTS];
            tally += Tally::of(program(&python).args(args).dir(&repo.root).succeeds()?);
        }
        Ok(tally)
    }
}
