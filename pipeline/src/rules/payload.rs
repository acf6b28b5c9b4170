//! What the content of the packet at hand answers.

use arrayvec::ArrayVec;

use crate::buffer::Buffer;
use crate::policy::{CONTENT_MAX, Content, PayloadAsk};
use crate::rules::packet::Sight;

impl<B: Buffer> Sight<'_, B> {
    /// Yes, no, or `None` for a packet that lacks what is asked about.
    pub(super) fn payload(&mut self, ask: &PayloadAsk) -> Option<bool> {
        match ask {
            PayloadAsk::Content(content) => Some(self.contains(content)),
            PayloadAsk::TlsHost(glob) => {
                let hellos = &mut *self.hellos;
                let name = hellos.name(self.buf, self.parsed, self.now)?;
                Some(glob.matches(name))
            }
        }
    }

    /// What the packet is like in what is asked about, for people; `None` if it lacks it.
    pub(super) fn payload_value(&mut self, ask: &PayloadAsk) -> Option<String> {
        match ask {
            PayloadAsk::Content(content) if self.contains(content) => Some("there".to_owned()),
            PayloadAsk::Content(_) => Some("not there".to_owned()),
            PayloadAsk::TlsHost(_) => {
                let name = self.hellos.name(self.buf, self.parsed, self.now)?;
                Some(name.escape_ascii().to_string())
            }
        }
    }

    /// Whether the packet, from its IP header on, has these bytes in it.
    fn contains(&self, content: &Content) -> bool {
        let mut skip = usize::from(self.parsed.l3);
        let mut search = Search::new(content);
        self.buf.for_each_segment(|bytes| {
            let before = skip.min(bytes.len());
            skip -= before;
            search.go_on(bytes.get(before..).unwrap_or_default());
        });
        search.found
    }
}

/// Looks for content that may lie across segments.
struct Search<'a> {
    content: &'a Content,
    /// The last bytes of what was looked at, one less than the content has.
    tail: ArrayVec<u8, CONTENT_MAX>,
    found: bool,
}

impl<'a> Search<'a> {
    const fn new(content: &'a Content) -> Self {
        Self {
            content,
            tail: ArrayVec::new_const(),
            found: false,
        }
    }

    fn go_on(&mut self, bytes: &[u8]) {
        if self.found || bytes.is_empty() {
            return;
        }
        self.found = self.content.is_in(bytes);
        let keep = self.content.bytes().len() - 1;
        if !self.tail.is_empty() && !self.found {
            let mut seam: ArrayVec<u8, { 2 * CONTENT_MAX }> = self.tail.iter().copied().collect();
            seam.extend(bytes.iter().copied().take(keep));
            self.found = self.content.is_in(&seam);
        }
        let gone = (self.tail.len() + bytes.len()).saturating_sub(keep);
        self.tail.drain(..gone.min(self.tail.len()));
        let room = keep - self.tail.len();
        let fresh = bytes.len().saturating_sub(room);
        self.tail
            .extend(bytes.iter().copied().skip(fresh).take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(content: &[u8], segments: &[Vec<u8>]) -> bool {
        let content = Content::new(content).unwrap();
        let mut search = Search::new(&content);
        for segment in segments {
            search.go_on(segment);
        }
        search.found
    }

    #[test]
    fn content_is_found_across_any_number_of_segments() {
        let each = |text: &[u8]| text.iter().map(|b| vec![*b]).collect::<Vec<_>>();
        assert!(found(b"needle", &each(b"a needle in")));
        assert!(!found(b"needle", &each(b"a needl e in")));
        assert!(found(
            &[7; CONTENT_MAX],
            &[vec![7; 100], vec![], vec![7; 28]]
        ));
        assert!(!found(&[7; CONTENT_MAX], &[vec![7; 100], vec![7; 27]]));
    }

    proptest! {
        #[test]
        fn content_is_found_in_segments_as_it_is_in_one(
            content in proptest::collection::vec(0..2_u8, 1..6),
            segments in proptest::collection::vec(proptest::collection::vec(0..2_u8, 0..6), 0..8),
        ) {
            let whole = segments.concat();
            let expected = whole.windows(content.len()).any(|window| window == content);
            prop_assert_eq!(found(&content, &segments), expected);
        }
    }
}
