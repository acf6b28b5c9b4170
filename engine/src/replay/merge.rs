//! Captures merged by time.
//!
//! Within a file the order is the file's, even where its stamps go back; between files the packet
//! with the smaller stamp comes first, and of equal ones that of the input named first.

use crate::pcap::{CaptureFile, Captured};

/// Packets in the order in which they were captured.
pub trait Source {
    /// The next packet, `None` at the end.
    fn next_packet(&mut self) -> Option<Captured>;
}

impl Source for CaptureFile {
    fn next_packet(&mut self) -> Option<Captured> {
        Self::next_packet(self)
    }
}

/// Several sources as one.
#[derive(Debug)]
pub struct Merge<S> {
    inputs: Vec<(S, Option<Captured>)>,
}

impl<S: Source> Merge<S> {
    /// Reads the first packet of each source.
    pub fn new(sources: impl IntoIterator<Item = S>) -> Self {
        let inputs = sources
            .into_iter()
            .map(|mut source| {
                let head = source.next_packet();
                (source, head)
            })
            .collect();
        Self { inputs }
    }

    /// The next packet of all, with the number of its source from 0.
    pub fn next_packet(&mut self) -> Option<(usize, Captured)> {
        let heads = self.inputs.iter().enumerate();
        let (input, _) = heads
            .filter_map(|(input, (_, head))| head.as_ref().map(|packet| (input, packet.stamp)))
            // Of equal minima the first is taken.
            .min_by_key(|(_, stamp)| *stamp)?;
        let (source, head) = self.inputs.get_mut(input)?;
        let next = source.next_packet();
        std::mem::replace(head, next).map(|packet| (input, packet))
    }

    /// The sources, in order.
    pub fn sources(&self) -> impl Iterator<Item = &S> {
        self.inputs.iter().map(|(source, _)| source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::Stamp;

    struct List<'a>(&'a [u64], u64);

    impl Source for List<'_> {
        fn next_packet(&mut self) -> Option<Captured> {
            let (stamp, rest) = self.0.split_first()?;
            self.0 = rest;
            self.1 += 1;
            Some(Captured {
                stamp: Stamp(*stamp),
                index: self.1,
                frame: Vec::new(),
            })
        }
    }

    fn merged(files: &[&[u64]]) -> Vec<(usize, u64)> {
        let mut merge = Merge::new(files.iter().map(|stamps| List(stamps, 0)));
        std::iter::from_fn(|| merge.next_packet())
            .map(|(input, packet)| (input, packet.stamp.0))
            .collect()
    }

    #[test]
    fn packets_of_several_files_come_by_time() {
        let order = merged(&[&[1, 4, 9], &[2, 3], &[], &[5]]);
        assert_eq!(order, [(0, 1), (1, 2), (1, 3), (0, 4), (3, 5), (0, 9)]);
    }

    #[test]
    fn of_equal_stamps_the_input_named_first_wins() {
        assert_eq!(
            merged(&[&[2, 2], &[1, 2]]),
            [(1, 1), (0, 2), (0, 2), (1, 2)]
        );
    }

    #[test]
    fn a_file_whose_stamps_go_back_keeps_its_order() {
        assert_eq!(
            merged(&[&[5, 1, 6], &[4, 7]]),
            [(1, 4), (0, 5), (0, 1), (0, 6), (1, 7)]
        );
    }
}
