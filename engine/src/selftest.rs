//! The self-test at start: that the external port NAT chooses brings the answer to its owner.
//!
//! NAT predicts with precomputed tables where an answer will arrive. Here the same is worked out a
//! second way, bit by bit as receive-side scaling defines it, from the key and the indirection
//! table that the port really has. What NAT chose for a worker has to land on that worker. It shows
//! an error of the prediction, or a table that leaves a worker out, before any packet depends on
//! it; whether a device does what it says is shown by samples of received packets, later.

use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::nat::{Mapping, Pools, PortOrder, SourceRequest, Steer, choose_source};
use turnpike_conntrack::ports::Sharing;
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::tuple::{Address, Family, Port, Proto, Tuple, V4, V6};

/// Connections tried for each worker, family and protocol.
const SAMPLES: u16 = 32;

/// Nothing is hidden from anybody here.
const KEY: HashKey = HashKey([1, 2, 3, 4]);

/// An answer that would not arrive at the worker whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misplaced {
    /// The worker that the port was chosen for.
    pub owner: WorkerId,
    /// Where the answer arrives; `None` if no port was found that brings it to its owner.
    pub arrives: Option<WorkerId>,
}

/// What a port does with received packets, as it was read back.
#[derive(Debug, Clone, Copy)]
pub struct Spreading<'a> {
    /// The hash key.
    pub key: &'a [u8],
    /// The worker for each value of the hash modulo the table's length.
    pub table: &'a [WorkerId],
}

/// Chooses external ports under `distribution` for all `workers`, and holds where their answers
/// arrive against `spreading`.
///
/// # Errors
///
/// The first answer that goes astray.
pub fn prove(
    distribution: &Distribution,
    spreading: Spreading<'_>,
    workers: u8,
) -> Result<(), Misplaced> {
    // Addresses that are reserved for documentation, and private ones.
    let v4 = Ends::<V4> {
        inside: 0x0a00_0001,
        external: Address::from_bits(0xcb00_7101),
        remote: Address::from_bits(0xc633_6407),
    };
    let v6 = Ends::<V6> {
        inside: 0xfd00 << 112 | 1,
        external: Address::from_bits(0x2001_0db8 << 96 | 1),
        remote: Address::from_bits(0x2001_0db8_ffff << 80 | 7),
    };
    for owner in (0..workers).map(WorkerId) {
        for proto in [Proto::TCP, Proto::UDP] {
            v4.prove(distribution, spreading, owner, proto)?;
            v6.prove(distribution, spreading, owner, proto)?;
        }
    }
    Ok(())
}

/// Whose connections are tried.
struct Ends<F: Family> {
    inside: u128,
    external: F::Addr,
    remote: F::Addr,
}

impl<F: Family> Ends<F> {
    fn prove(
        &self,
        distribution: &Distribution,
        spreading: Spreading<'_>,
        owner: WorkerId,
        proto: Proto,
    ) -> Result<(), Misplaced> {
        let pools = Pools::<F>::build(None, [self.external]);
        for sample in 0..SAMPLES {
            let request = self.request(sample, proto);
            let chosen = choose_source(&pools, &request, distribution, owner, &KEY);
            let Some(chosen) = chosen.ok().filter(|c| c.steer == Steer::No) else {
                let arrives = None;
                return Err(Misplaced { owner, arrives });
            };
            let arrives = arrival(spreading, &chosen.tuple.inverse());
            if arrives != Some(owner) {
                return Err(Misplaced { owner, arrives });
            }
        }
        Ok(())
    }

    fn request(&self, sample: u16, proto: Proto) -> SourceRequest<F> {
        let inside = (
            F::Addr::from_bits(self.inside + u128::from(sample)),
            Port(1_024 + 997 * sample),
        );
        SourceRequest {
            tuple: Tuple {
                src: inside.0,
                dst: self.remote,
                src_port: inside.1,
                dst_port: Port(443),
                proto,
            },
            inside,
            addresses: (self.external, self.external),
            ports: None,
            sharing: Sharing::Shared,
            mapping: Mapping::PerConnection,
            order: PortOrder::Preserve,
        }
    }
}

/// The worker at which a packet with `tuple` arrives.
fn arrival<F: Family>(spreading: Spreading<'_>, tuple: &Tuple<F>) -> Option<WorkerId> {
    let mut input = tuple.src.as_bytes().to_vec();
    input.extend_from_slice(tuple.dst.as_bytes());
    input.extend_from_slice(&tuple.src_port.0.to_be_bytes());
    input.extend_from_slice(&tuple.dst_port.0.to_be_bytes());
    let hash = usize::try_from(toeplitz(spreading.key, &input)).ok()?;
    let place = hash.checked_rem(spreading.table.len())?;
    spreading.table.get(place).copied()
}

/// The Toeplitz hash by its definition: for each set bit of the input, 32 bits of the key from
/// that bit's place on.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let is_set = |bytes: &[u8], bit: usize| {
        let byte = bytes.get(bit / 8).copied().unwrap_or(0);
        byte >> (7 - bit % 8) & 1 == 1
    };
    (0..8 * input.len())
        .filter(|bit| is_set(input, *bit))
        .map(|bit| (bit..bit + 32).fold(0, |word, at| word << 1 | u32::from(is_set(key, at))))
        .fold(0, |hash, word| hash ^ word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_conntrack::rss::{PortHashing, SYMMETRIC_KEY};

    fn table(length: u8, workers: u8) -> Vec<WorkerId> {
        (0..length).map(|n| WorkerId(n % workers)).collect()
    }

    fn proved(key: &[u8], predicted: &[WorkerId], real: &[WorkerId]) -> Result<(), Misplaced> {
        let distribution = Distribution::new(key, predicted, PortHashing::COMMON).unwrap();
        let spreading = Spreading { key, table: real };
        prove(&distribution, spreading, 3)
    }

    #[test]
    fn the_hash_is_the_one_that_devices_are_verified_by() {
        // The verification suite of receive-side scaling: its key, and two of its packets.
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
            0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
            0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let input = [
            66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6, // 2794 to 1766
        ];
        assert_eq!(toeplitz(&key, &input), 0x51cc_c178);
        assert_eq!(toeplitz(&key, &input[..8]), 0x323e_8fc2);
    }

    #[test]
    fn every_answer_arrives_at_its_owner_under_the_ports_own_key_and_table() {
        for length in [3, 64, 128] {
            let table = table(length, 3);
            assert_eq!(proved(&SYMMETRIC_KEY, &table, &table), Ok(()));
        }
        let other_key: Vec<u8> = (0..52).map(|n: u8| n.wrapping_mul(73) ^ 0xa5).collect();
        let table = table(128, 3);
        assert_eq!(proved(&other_key, &table, &table), Ok(()));
    }

    #[test]
    fn a_table_that_differs_from_the_predicted_one_is_found_out() {
        let predicted = table(128, 3);
        let mut real = predicted.clone();
        real.rotate_left(1);
        let astray = proved(&SYMMETRIC_KEY, &predicted, &real).unwrap_err();
        assert_ne!(astray.arrives, Some(astray.owner));
    }

    #[test]
    fn a_table_that_leaves_a_worker_out_is_found_out() {
        let table = table(128, 2);
        let astray = proved(&SYMMETRIC_KEY, &table, &table).unwrap_err();
        let nowhere = Misplaced {
            owner: WorkerId(2),
            arrives: None,
        };
        assert_eq!(astray, nowhere);
    }
}
