//! What differs between IPv4 and IPv6 for the stages: where a program and a worker keep it.

use turnpike_conntrack::nat::Pools;
use turnpike_conntrack::tuple::{Family, V4, V6};

use crate::opening::{AnyOpening, Opening};
use crate::program::Program;

/// An address family with everything the stages need of it.
pub trait Stack: Family {
    /// The program's port pools for source translation.
    fn pools(program: &Program) -> &Pools<Self>;
    /// An opening among those of both families.
    fn any(opening: Opening<Self>) -> AnyOpening;
    /// An opening of this family; `None` for one of the other.
    fn opening(any: AnyOpening) -> Option<Opening<Self>>;
}

impl Stack for V4 {
    fn pools(program: &Program) -> &Pools<Self> {
        &program.pools4
    }

    fn any(opening: Opening<Self>) -> AnyOpening {
        AnyOpening::V4(opening)
    }

    fn opening(any: AnyOpening) -> Option<Opening<Self>> {
        match any {
            AnyOpening::V4(opening) => Some(opening),
            AnyOpening::V6(_) => None,
        }
    }
}

impl Stack for V6 {
    fn pools(program: &Program) -> &Pools<Self> {
        &program.pools6
    }

    fn any(opening: Opening<Self>) -> AnyOpening {
        AnyOpening::V6(opening)
    }

    fn opening(any: AnyOpening) -> Option<Opening<Self>> {
        match any {
            AnyOpening::V6(opening) => Some(opening),
            AnyOpening::V4(_) => None,
        }
    }
}
