//! Which provider ONNX Runtime gave each node to.

use ort::sys::{OrtApi, OrtEpAssignedNode, OrtEpAssignedSubgraph, OrtStatusPtr};
use ort::{AsPointer, Error};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

/// A node and its provider. ONNX Runtime records them when it divides the graph, before it fuses
/// nodes for the CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) provider: String,
    pub(super) name: String,
    pub(super) operator: String,
}

/// The number of nodes of every provider.
pub(super) fn count(nodes: &[Assigned]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in nodes {
        *counts.entry(node.provider.clone()).or_default() += 1;
    }
    counts
}

/// Every node of a session that was built with `session.record_ep_graph_assignment_info`.
#[expect(unsafe_code, reason = "ort has no safe wrapper for these functions")]
pub(super) fn nodes(session: &ort::session::Session) -> ort::Result<Vec<Assigned>> {
    let api = ort::api();
    let mut found = Vec::new();
    // SAFETY: the session is alive, and so are the subgraphs, nodes and strings that hang on it;
    // each function is called with what another one of the same table returned.
    unsafe {
        let subgraphs: &[*const OrtEpAssignedSubgraph] = list(|first, count| {
            (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), first, count)
        })?;
        for &subgraph in subgraphs {
            let provider = text(|out| (api.EpAssignedSubgraph_GetEpName)(subgraph, out))?;
            let nodes: &[*const OrtEpAssignedNode] =
                list(|first, count| (api.EpAssignedSubgraph_GetNodes)(subgraph, first, count))?;
            for &node in nodes {
                found.push(Assigned {
                    provider: provider.clone(),
                    name: text(|out| (api.EpAssignedNode_GetName)(node, out))?,
                    operator: operator(api, node)?,
                });
            }
        }
    }
    Ok(found)
}

/// The operator with its domain, if that is not ONNX's own.
///
/// # Safety
/// `node` is a node of a session that is alive.
#[expect(unsafe_code, reason = "ort has no safe wrapper for these functions")]
unsafe fn operator(api: &OrtApi, node: *const OrtEpAssignedNode) -> ort::Result<String> {
    // SAFETY: as the caller promises.
    let (domain, operator) = unsafe {
        (
            text(|out| (api.EpAssignedNode_GetDomain)(node, out))?,
            text(|out| (api.EpAssignedNode_GetOperatorType)(node, out))?,
        )
    };
    Ok(if domain.is_empty() { operator } else { format!("{domain}.{operator}") })
}

/// The array that a function of ONNX Runtime returns by its first element and length.
///
/// # Safety
/// `get` sets both to an array that lives as long as `'a`, or returns an error.
#[expect(unsafe_code, reason = "ort has no safe wrapper for these functions")]
unsafe fn list<'a, T>(
    get: impl FnOnce(*mut *const T, *mut usize) -> OrtStatusPtr,
) -> ort::Result<&'a [T]> {
    let (mut first, mut count) = (std::ptr::null(), 0);
    // SAFETY: the status is the function's own; the array is as the caller promises.
    unsafe {
        Error::result_from_status(get(&raw mut first, &raw mut count))?;
        Ok(if first.is_null() { &[] } else { std::slice::from_raw_parts(first, count) })
    }
}

/// The string that a function of ONNX Runtime returns.
///
/// # Safety
/// `get` sets its argument to a string with a final zero or to null, or returns an error.
#[expect(unsafe_code, reason = "ort has no safe wrapper for these functions")]
unsafe fn text(get: impl FnOnce(*mut *const c_char) -> OrtStatusPtr) -> ort::Result<String> {
    let mut start = std::ptr::null();
    // SAFETY: the status is the function's own; the string is as the caller promises.
    unsafe {
        Error::result_from_status(get(&raw mut start))?;
        let text = |start| CStr::from_ptr(start).to_string_lossy().into_owned();
        Ok(start.as_ref().map_or_else(String::new, |start| text(start)))
    }
}
