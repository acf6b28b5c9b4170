//! What differs between IPv4 and IPv6 for the stages: where a program and a worker keep it.

use turnpike_conntrack::nat::Pools;
use turnpike_conntrack::tuple::{Family, V4, V6};

use crate::program::Program;

/// An address family with everything the stages need of it.
pub trait Stack: Family {
    /// The program's port pools for source translation.
    fn pools(program: &Program) -> &Pools<Self>;
}

impl Stack for V4 {
    fn pools(program: &Program) -> &Pools<Self> {
        &program.pools4
    }
}

impl Stack for V6 {
    fn pools(program: &Program) -> &Pools<Self> {
        &program.pools6
    }
}
