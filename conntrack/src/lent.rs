//! An entry's memory for its tracker: TCP's window, lent to other protocols for numbers of theirs.
//!
//! A connection has one protocol for life, so what one tracker has put there no other reads.

use crate::tcp_window::TcpWindow;

impl TcpWindow {
    /// The memory with four numbers of another tracker.
    pub(crate) fn lend(numbers: [u32; 4]) -> Self {
        let mut window = Self::default();
        let [first, second] = &mut window.sides;
        [first.end, first.max_end, second.end, second.max_end] = numbers;
        window
    }

    /// The numbers that were put there.
    pub(crate) fn lent(&self) -> [u32; 4] {
        let [first, second] = &self.sides;
        [first.end, first.max_end, second.end, second.max_end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_there_is_found_again() {
        let numbers = [1, u32::MAX, 3, 0];
        assert_eq!(TcpWindow::lend(numbers).lent(), numbers);
    }
}
