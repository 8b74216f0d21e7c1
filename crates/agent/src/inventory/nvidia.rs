//! NVIDIA's GPUs and their slices, by NVML, which is loaded while the program runs: without a driver there is none.

use std::ffi::OsStr;
use std::path::Path;

use heats_domain::resources::Gpu;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device as Handle, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::device::{Device, Maker, User};

/// The name under which a driver installs the library; the one without a number comes with tools for developers only.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// There while the kernel's part of the driver is loaded.
const DRIVER: &str = "/proc/driver/nvidia/version";

/// The library, or why there is none.
#[derive(Debug)]
pub struct Nvidia {
    nvml: Result<Nvml, Option<String>>,
}

impl Nvidia {
    /// Loads the library.
    pub fn load() -> Self {
        let nvml = Nvml::builder().lib_path(OsStr::new(LIBRARY)).init();
        Self { nvml: nvml.map_err(|error| trouble(&error, Path::new(DRIVER).exists())) }
    }

    /// The driver's version.
    pub fn driver(&self) -> Option<String> {
        self.nvml.as_ref().ok()?.sys_driver_version().ok()
    }

    /// The version of CUDA that the driver brings: `12.4`.
    pub fn cuda(&self) -> Option<String> {
        let version = self.nvml.as_ref().ok()?.sys_cuda_driver_version().ok()?;
        Some(format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version)))
    }

    /// Why the library cannot be used, where there ought to be one.
    pub fn trouble(&self) -> Option<String> {
        self.nvml.as_ref().err()?.clone()
    }

    /// Every GPU that is not divided, and every slice of those that are, in the order of the bus.
    pub fn look(&self) -> Vec<Device> {
        let Ok(nvml) = &self.nvml else { return Vec::new() };
        let count = nvml.device_count().unwrap_or(0);
        (0..count)
            .flat_map(|ordinal| match nvml.device_by_index(ordinal) {
                Ok(handle) => of(&handle, ordinal),
                Err(error) => vec![broken(ordinal, &error)],
            })
            .collect()
    }
}

/// Nothing, where the machine has no such GPU: most have none.
fn trouble(error: &NvmlError, driver_is_loaded: bool) -> Option<String> {
    match error {
        NvmlError::LibloadingError(_) if driver_is_loaded => {
            Some(format!("the NVIDIA driver is loaded, and its library {LIBRARY} is not found: {error}"))
        }
        NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded | NvmlError::LibraryNotFound => None,
        other => Some(format!("NVML, NVIDIA's library, cannot be used: {other}")),
    }
}

/// The GPU, or its slices where it is divided.
fn of(handle: &Handle<'_>, ordinal: u32) -> Vec<Device> {
    // Most models cannot be divided, and say so by an error.
    let is_divided = handle.mig_mode().is_ok_and(|mode| mode.current != 0);
    let fault = fault(handle);
    if !is_divided {
        return vec![one(handle, ordinal, fault)];
    }
    // Only so many places for slices: many may be empty.
    let places = handle.mig_device_count().unwrap_or(0);
    let slices: Vec<Device> = (0..places)
        .filter_map(|place| handle.mig_device_by_index(place).ok())
        .map(|slice| one(&slice, ordinal, fault.clone()))
        .collect();
    if slices.is_empty() {
        let nothing = "it is to be divided (MIG), and has no slices: make some, or switch MIG off".to_owned();
        return vec![one(handle, ordinal, fault.or(Some(nothing)))];
    }
    slices
}

fn one(handle: &Handle<'_>, ordinal: u32, fault: Option<String>) -> Device {
    let read = || -> Result<Gpu, NvmlError> {
        let (model, slice) = named(&handle.name()?);
        Ok(Gpu { index: 0, model, memory: handle.memory_info()?.total, uuid: handle.uuid()?, slice })
    };
    match read() {
        Ok(gpu) => Device { gpu, maker: Maker::Nvidia, ordinal, fault, users: users(handle) },
        Err(error) => broken(ordinal, &error),
    }
}

/// A device that the driver does not answer for.
fn broken(ordinal: u32, error: &NvmlError) -> Device {
    let gpu = Gpu { model: "NVIDIA".to_owned(), ..Gpu::default() };
    let fault = Some(format!("its driver does not answer for it: {error}"));
    Device { gpu, maker: Maker::Nvidia, ordinal, fault, users: Vec::new() }
}

/// `NVIDIA A100-SXM4-40GB MIG 1g.5gb` is a slice `1g.5gb` of the model before it.
fn named(name: &str) -> (String, String) {
    match name.split_once(" MIG ") {
        Some((model, profile)) => (model.to_owned(), profile.trim().to_owned()),
        None => (name.to_owned(), String::new()),
    }
}

/// Uncorrectable errors of its memory since the driver was loaded: what it computes is not to be trusted until it is reset.
fn fault(handle: &Handle<'_>) -> Option<String> {
    // A model without error correction does not count any.
    let errors = handle.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).unwrap_or(0);
    (errors > 0).then(|| format!("uncorrectable memory errors (ECC) since the driver was loaded: {errors}; reset it"))
}

fn users(handle: &Handle<'_>) -> Vec<User> {
    let computing = handle.running_compute_processes().unwrap_or_default();
    let drawing = handle.running_graphics_processes().unwrap_or_default();
    let mut users: Vec<User> = computing
        .into_iter()
        .chain(drawing)
        .map(|process| {
            let memory = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => bytes,
                UsedGpuMemory::Unavailable => 0,
            };
            User { pid: process.pid, memory }
        })
        .collect();
    // One that does both is listed by both.
    users.sort_unstable_by_key(|user| user.pid);
    users.dedup_by_key(|user| user.pid);
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_told_from_its_model() {
        assert_eq!(named("NVIDIA H100 80GB HBM3"), ("NVIDIA H100 80GB HBM3".into(), String::new()));
        assert_eq!(named("NVIDIA H100 80GB HBM3 MIG 1g.10gb"), ("NVIDIA H100 80GB HBM3".into(), "1g.10gb".to_owned()));
    }

    #[test]
    fn a_machine_without_a_driver_is_no_trouble_and_one_whose_library_is_missing_is() {
        assert_eq!(trouble(&NvmlError::DriverNotLoaded, false), None);
        assert!(trouble(&NvmlError::LibRmVersionMismatch, true).expect("said").contains("NVML"));
    }

    #[test]
    fn looking_for_gpus_where_there_is_no_library_finds_none() {
        let none = Nvidia { nvml: Err(None) };
        assert!(none.look().is_empty() && none.driver().is_none() && none.trouble().is_none());
    }
}
