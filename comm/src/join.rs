//! How the ranks come to see each other's heartbeats. Those of a node share memory: one makes it, all map it, its name goes.
//! Between nodes a relay is agreed on.

use std::path::{Path, PathBuf};

use crate::collective::Collective;
use crate::error::CommError;
use crate::ext::CollectiveExt;
use crate::heartbeat::relay::{self, Relay, Site};
use crate::heartbeat::{Heartbeat, JOB_DIR, Member, Memory, ProcessId};
use crate::warning::Warning;
use crate::world::World;

/// What a rank tells the others: itself, and the file that it has made for its node.
struct Introduction {
    member: Member,
    file: PathBuf,
}

/// Gives this rank its slot; all ranks call it. A rank that cannot share memory goes on with a slot of its own.
///
/// # Errors
/// What the transport reports.
pub(crate) fn join(collective: &dyn Collective) -> Result<(Heartbeat, Option<Warning>), CommError> {
    let world = collective.world();
    let World { rank, world_size, node, .. } = *world;
    let own = Member { host: host_name(), node, process: ProcessId::own() };
    let mut problem = None;
    let mut made = None;
    if world.local_rank == 0 {
        match Memory::create(world_size, node) {
            Ok(memory) => made = Some(memory),
            Err(error) => problem = Some(error),
        }
    }
    let (memory, file) = made.unzip();
    let message = Introduction { member: own, file: file.unwrap_or_default() }.encode();
    let introductions: Vec<Introduction> =
        collective.gather_bytes(&message)?.iter().map(|bytes| Introduction::decode(bytes)).collect();
    let leader = introductions.iter().find(|other| other.member.node == node);
    let file = leader.map(|leader| leader.file.clone()).unwrap_or_default();
    let memory = memory.map_or_else(|| Memory::open(&file, world_size), Ok);
    // Nobody needs the name after this.
    collective.barrier()?;
    if world.local_rank == 0 && !is_in_job_dir(&file) {
        let _ = std::fs::remove_file(&file);
    }
    let members = introductions.into_iter().map(|other| other.member).collect();
    let memory = memory.unwrap_or_else(|error| {
        problem.get_or_insert(error);
        Memory::private(world_size)
    });
    let heartbeat = Heartbeat::start(memory, rank, members)
        .map_err(|error| CommError::CommThread { rank, reason: error.to_string() })?;
    let warning = problem.map(|error| Warning {
        what: format!("rank {rank} shares no memory with its node ({error}): a stuck rank cannot be named"),
        hint: format!("make room in `/dev/shm` or set `{JOB_DIR}` to a folder that the ranks can write"),
    });
    Ok((heartbeat, warning))
}

/// Starts the exchange of news where there are several nodes; all ranks call it.
///
/// # Errors
/// [`CommError::NoInterface`], on all ranks alike; what the transport reports.
pub(crate) fn join_nodes(
    collective: &dyn Collective,
    heartbeat: &Heartbeat,
    interface: Option<&str>,
) -> Result<Option<Relay>, CommError> {
    let world = collective.world();
    if world.num_nodes <= 1 {
        return Ok(None);
    }
    let own = Site::of_this_machine();
    // One rank speaks for each node.
    let introduction = if world.local_rank == 0 { own.encode() } else { Vec::new() };
    let introductions = collective.gather_bytes(&introduction)?;
    let (invitation, opened) = match world.is_main() {
        true => relay::invite(&own, &introductions, interface),
        false => (Vec::new(), None),
    };
    let invitation = collective.broadcast_bytes(invitation, 0)?;
    Relay::start(world, &invitation, opened, heartbeat)
}

fn is_in_job_dir(file: &Path) -> bool {
    std::env::var_os(JOB_DIR).is_some_and(|folder| file.starts_with(folder))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(|c| !c.is_control()).take(64).collect()
}

impl Introduction {
    fn encode(&self) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        let Member { host, node, process } = &self.member;
        let mut text = format!("{node} {} {} {host}\n", process.pid, process.start).into_bytes();
        text.extend(self.file.as_os_str().as_bytes());
        text
    }

    /// Ranks of one program understand each other; of anything else nothing is known.
    fn decode(bytes: &[u8]) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let (line, file) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        let line = String::from_utf8_lossy(line);
        let mut fields = line.splitn(4, ' ');
        let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        let (node, pid, start) = (number(), number(), number());
        let process = ProcessId { pid: u32::try_from(pid).unwrap_or_default(), start };
        let host = fields.next().unwrap_or_default().to_owned();
        let file = PathBuf::from(std::ffi::OsStr::from_bytes(file.get(1..).unwrap_or_default()));
        Self { member: Member { host, node: node as usize, process }, file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn introductions_survive_the_journey() {
        let member = Member { host: "a b".into(), node: 3, process: ProcessId { pid: 7, start: 1 << 40 } };
        for file in ["", "/dev/shm/with a space\nand a line"] {
            let sent = Introduction { member: member.clone(), file: file.into() };
            let heard = Introduction::decode(&sent.encode());
            assert_eq!((heard.member, heard.file), (member.clone(), PathBuf::from(file)));
        }
        for garbage in [&b""[..], b"\n", b"x", b"1 2", &[0xff, 0xfe]] {
            let _ = Introduction::decode(garbage);
        }
    }
}
