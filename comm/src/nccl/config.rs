//! NCCL's types for what dtrain calls by its own names.

use std::ffi::{c_int, c_uint};

use cudarc::nccl::sys::{ncclConfig_t, ncclDataType_t, ncclRedOp_t};

use crate::buffer::ElementKind;
use crate::collective::ReduceOp;

/// `NCCL_CONFIG_INITIALIZER` of NCCL 2.28.
const MAGIC: c_uint = 0xcafe_beef;
const VERSION: c_uint = 22800;
const UNDEFINED: c_int = c_int::MIN;

/// The configuration of a communicator; everything but `blocking` is left to NCCL.
pub(super) fn config(blocking: bool) -> ncclConfig_t {
    ncclConfig_t {
        size: size_of::<ncclConfig_t>(),
        magic: MAGIC,
        version: VERSION,
        blocking: c_int::from(blocking),
        cgaClusterSize: UNDEFINED,
        minCTAs: UNDEFINED,
        maxCTAs: UNDEFINED,
        netName: std::ptr::null(),
        splitShare: UNDEFINED,
        trafficClass: UNDEFINED,
        commName: std::ptr::null(),
        collnetEnable: UNDEFINED,
        CTAPolicy: UNDEFINED,
        shrinkShare: UNDEFINED,
        nvlsCTAs: UNDEFINED,
        nChannelsPerNetPeer: UNDEFINED,
        nvlinkCentricSched: UNDEFINED,
    }
}

/// Whether calls of communicators block: as asked, unless the user's `NCCL_COMM_BLOCKING` says otherwise, which NCCL
/// itself puts above the configuration.
pub(super) fn is_blocking(asked: bool, variable: Option<&str>) -> bool {
    match variable.map(str::trim) {
        Some("0") => false,
        Some("1") => true,
        _ => asked,
    }
}

pub(super) fn data_type(kind: ElementKind) -> ncclDataType_t {
    match kind {
        ElementKind::F32 => ncclDataType_t::ncclFloat32,
        ElementKind::F64 => ncclDataType_t::ncclFloat64,
        ElementKind::I32 => ncclDataType_t::ncclInt32,
        ElementKind::I64 => ncclDataType_t::ncclInt64,
        ElementKind::U64 => ncclDataType_t::ncclUint64,
        ElementKind::U8 => ncclDataType_t::ncclUint8,
    }
}

pub(super) fn reduction(op: ReduceOp) -> ncclRedOp_t {
    match op {
        ReduceOp::Sum => ncclRedOp_t::ncclSum,
        ReduceOp::Max => ncclRedOp_t::ncclMax,
        ReduceOp::Min => ncclRedOp_t::ncclMin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_s_variable_is_above_the_setting() {
        for asked in [true, false] {
            assert!(!is_blocking(asked, Some("0")) && is_blocking(asked, Some(" 1")));
            for nothing in [None, Some(""), Some("2")] {
                assert_eq!(is_blocking(asked, nothing), asked);
            }
        }
        assert_eq!((config(true).blocking, config(false).blocking), (1, 0));
    }
}
