//! Names of calls and communicators that fit into a byte, since other processes read them.

/// What a rank calls together with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(crate) enum Operation {
    /// None yet, or one that has no name here.
    #[default]
    Unknown,
    AllReduce,
    AllGather,
    ReduceScatter,
    Broadcast,
    Barrier,
    Duplicate,
    Connect,
    Finalize,
    /// Several in one launch.
    Group,
}

impl Operation {
    const ALL: [Self; 10] = [
        Self::Unknown,
        Self::AllReduce,
        Self::AllGather,
        Self::ReduceScatter,
        Self::Broadcast,
        Self::Barrier,
        Self::Duplicate,
        Self::Connect,
        Self::Finalize,
        Self::Group,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "a collective",
            Self::AllReduce => "all_reduce",
            Self::AllGather => "all_gather",
            Self::ReduceScatter => "reduce_scatter",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
            Self::Duplicate => "duplicate",
            Self::Connect => "connect",
            Self::Finalize => "finalize",
            Self::Group => "group",
        }
    }

    pub fn of_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|operation| operation.name() == name).unwrap_or_default()
    }

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn of_code(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or_default()
    }
}

/// What a communicator is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// Reports, directives, labels.
    #[default]
    Control,
    /// Tensors in host memory, beside the computation.
    Tensors,
    /// Tensors on GPUs.
    Nccl,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Tensors => "tensors",
            Self::Nccl => "NCCL",
        }
    }

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn of_code(code: u8) -> Self {
        [Self::Control, Self::Tensors, Self::Nccl].get(usize::from(code)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_belong_together() {
        for (code, operation) in (0..).zip(Operation::ALL) {
            assert_eq!((operation.code(), Operation::of_code(code)), (code, operation));
            assert_eq!(Operation::of_name(operation.name()), operation);
        }
        assert_eq!((Operation::of_code(99), Operation::of_name("?")), Default::default());
        for purpose in [Purpose::Control, Purpose::Tensors, Purpose::Nccl] {
            assert_eq!(Purpose::of_code(purpose.code()), purpose);
        }
    }
}
