//! Loads the kernel part: offsets from the running kernel's BTF, then the programs, then the hook.
//!
//! Whether this kernel can is found out by doing it, never by its version.

use std::{fs::File, io, os::fd::AsRawFd};

use aya::{
    Btf, BtfError, Ebpf, EbpfError, EbpfLoader, include_bytes_aligned,
    maps::MapError,
    programs::{BtfTracePoint, Iter, ProgramError},
};
use btf_rs::Backend;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::{
    netns::Identity,
    node::{
        offsets::{self, Offset},
        privileges::{Capability, Rights},
    },
};

/// The running kernel's types.
pub const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The kernel part, as `cargo xtask build-ebpf` made it.
static OBJECT: &[u8] = include_bytes_aligned!(env!("MERGER_EBPF_OBJECT"));

/// What loading and iterating needs.
const WANTED: [Capability; 2] = [Capability::Bpf, Capability::Perfmon];

/// What it needs below 5.11, where maps are locked memory, which is scarce: aya raises the limit.
const WANTED_FOR_MEMORY: [Capability; 1] = [Capability::SysResource];

/// The one helper that is younger than the hooks, and what the verifier of a kernel without it says.
const SOCK_FROM_FILE: &str = "bpf_sock_from_file";
const UNKNOWN_SOCK_FROM_FILE: &str = "invalid func unknown#162";

/// Lines of the verifier's log that a person is shown: the refusal stands at the end.
const LOG_LINES: usize = 12;

/// Why the kernel part is not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel was built without, or its file system is not mounted here.
    #[error("no BTF at {BTF}: needs a kernel with CONFIG_DEBUG_INFO_BTF, and /sys mounted")]
    NoBtf(#[source] io::Error),
    /// The file is there and is no BTF.
    #[error("the BTF at {BTF} cannot be read")]
    BadBtf(#[source] btf_rs::Error),
    /// There is no memory for a copy.
    #[error("the BTF at {BTF} cannot be copied: needs 10 MB of memory for a moment")]
    Copy(#[source] io::Error),
    /// This kernel lacks something that the kernel part reads.
    #[error(transparent)]
    Member(#[from] offsets::Missing),
    /// This kernel has no such hook, or its BTF does not say.
    #[error("this kernel does not offer the hooks of the kernel part")]
    Hook(#[from] BtfError),
    /// A right is missing.
    #[error("missing {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))]
    Rights(Vec<Capability>),
    /// All rights are there and the kernel refuses nevertheless.
    #[error(
        "the kernel refuses BPF to this process although it has the rights: is it in a user namespace, or BPF switched off?"
    )]
    Refused(#[source] io::Error),
    /// A program calls what only later kernels have.
    #[error("this kernel has no {SOCK_FROM_FILE}, which {program} calls: it came with Linux 5.11")]
    Helper {
        /// The name of the program.
        program: &'static str,
    },
    /// The verifier does not accept a program. A defect of merger on this kernel: report the log.
    #[error("the kernel's verifier refuses {program}; please report this:\n{log}")]
    Verifier {
        /// The name of the program.
        program: &'static str,
        /// The end of the verifier's log.
        log: String,
    },
    /// The embedded object is not the one that this agent was written for.
    #[error("the kernel part has no {0}: run `cargo xtask build-ebpf` and build again")]
    Absent(&'static str),
    /// Maps could not be made, or the object not be read.
    #[error("the kernel part cannot be loaded")]
    Object(#[source] Box<EbpfError>),
    /// A program could not be given to the kernel for another reason.
    #[error("the kernel part cannot be loaded")]
    Program(#[source] Box<ProgramError>),
}

/// Loads, and attaches nothing yet. `n_marks` is the size of `DIRTY`: [`merger_common::N_MARKS`], or less to
/// see what happens when it is full.
pub fn load(n_marks: u32) -> Result<Ebpf, Error> {
    load_for(n_marks, Identity::Cookie)
}

/// The same where namespaces may have to be told by their inode numbers.
pub fn load_for(n_marks: u32, identity: Identity) -> Result<Ebpf, Error> {
    let (mut ebpf, btf) = object(n_marks, identity)?;
    iterator(&mut ebpf)?.load("task_file", &btf).map_err(|e| refused_program("task_file", e))?;
    hook(&mut ebpf, &btf)?;
    Ok(ebpf)
}

/// The same without the walk over open files, which takes more than some kernels have.
pub fn load_changes(n_marks: u32, identity: Identity) -> Result<Ebpf, Error> {
    let (mut ebpf, btf) = object(n_marks, identity)?;
    hook(&mut ebpf, &btf)?;
    Ok(ebpf)
}

fn object(n_marks: u32, identity: Identity) -> Result<(Ebpf, Btf), Error> {
    let mut offsets = offsets::resolve(&types()?)?;
    if identity == Identity::Inode {
        // From 5.12 to 5.13 the kernel has cookies that no socket tells: then both sides do without.
        let cookie = offsets.iter_mut().filter(|offset| offset.global == "NET_COOKIE");
        cookie.for_each(|offset| offset.bytes = 0);
    }
    // The kernel part asks for no log where nobody would read it.
    let debug = tracing::enabled!(target: "merger::kernel", tracing::Level::DEBUG);
    let level = if debug { aya_log::Level::Debug as u8 } else { aya_log::Level::Error as u8 };
    let mut loader = EbpfLoader::new();
    for Offset { global, bytes } in &offsets {
        loader.override_global(global, bytes, true);
    }
    loader.override_global(aya_log::LEVEL, &level, false).map_max_entries("DIRTY", n_marks);
    Ok((loader.load(OBJECT).map_err(refused_object)?, Btf::from_sys_fs()?))
}

fn hook(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Error> {
    let hook = tracepoint(ebpf)?;
    hook.load(TRACEPOINT, btf).map_err(|e| refused_program(TRACEPOINT, e))?;
    Ok(())
}

/// The program and the hook have one name.
const TRACEPOINT: &str = "inet_sock_set_state";

/// The running kernel's types, read without parsing what nobody asks for: that takes 0.8 MB of
/// memory instead of 39.
///
/// Such a reader maps its file, which only the newest kernels allow in sysfs (6.1 says `ENODEV`).
/// So what is mapped is a copy in memory, on every kernel, and it is gone with the types.
pub fn types() -> Result<btf_rs::Btf, Error> {
    let mut file = File::open(BTF).map_err(Error::NoBtf)?;
    let copy = memfd_create("btf", MemfdFlags::CLOEXEC).map_err(|e| Error::Copy(e.into()))?;
    let mut copy = File::from(copy);
    io::copy(&mut file, &mut copy).map_err(Error::Copy)?;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    btf_rs::Btf::from_file_with_backend(path, Backend::Mmap).map_err(Error::BadBtf)
}

fn iterator(ebpf: &mut Ebpf) -> Result<&mut Iter, Error> {
    let program = ebpf.program_mut("task_file").ok_or(Error::Absent("task_file"))?;
    program.try_into().map_err(|_| Error::Absent("iterator named task_file"))
}

fn tracepoint(ebpf: &mut Ebpf) -> Result<&mut BtfTracePoint, Error> {
    let program = ebpf.program_mut(TRACEPOINT).ok_or(Error::Absent(TRACEPOINT))?;
    program.try_into().map_err(|_| Error::Absent("tracepoint named inet_sock_set_state"))
}

fn refused_object(error: EbpfError) -> Error {
    match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => refused(io_error)
            .unwrap_or_else(|io_error| {
                Error::Object(Box::new(EbpfError::FileError {
                    path: "DIRTY, CHANGES or LOST".into(),
                    error: io_error,
                }))
            }),
        error => Error::Object(Box::new(error)),
    }
}

fn refused_program(program: &'static str, error: ProgramError) -> Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            if log.contains(UNKNOWN_SOCK_FROM_FILE) {
                return Error::Helper { program };
            }
            refused(io_error).unwrap_or_else(|_| Error::Verifier { program, log: tail(&log) })
        }
        ProgramError::Btf(error) => Error::Hook(error),
        error => Error::Program(Box::new(error)),
    }
}

/// For `EPERM`: the rights that are missing, or that none is. Other errors come back.
fn refused(error: io::Error) -> Result<Error, io::Error> {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Err(error);
    }
    let rights = Rights::own().ok();
    let lacking = |wanted: &[_]| rights.map(|rights| rights.lacking(wanted)).unwrap_or_default();
    let lacking = [lacking(&WANTED), lacking(&WANTED_FOR_MEMORY)];
    let lacking = lacking.into_iter().find(|lacking| !lacking.is_empty());
    Ok(lacking.map_or(Error::Refused(error), Error::Rights))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
