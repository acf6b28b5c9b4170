//! Families of metrics with their values, registered once per scrape.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The families of one scrape.
#[derive(Default)]
pub struct Families(Registry);

impl Families {
    /// Adds a family of numbers that only grow; each row has its labels and its value.
    ///
    /// # Errors
    /// A bad name, or a label too many or too few.
    pub fn counter<L: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        rows: &[(Vec<L>, u64)],
    ) -> Result<(), Error> {
        let family = IntCounterVec::new(Opts::new(name, help), labels)?;
        for (values, count) in rows {
            let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
            family.get_metric_with_label_values(&values)?.inc_by(*count);
        }
        self.register(family, rows.is_empty())
    }

    /// Adds a family of levels; each row has its labels and its value.
    ///
    /// # Errors
    /// A bad name, or a label too many or too few.
    pub fn gauge<L: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        rows: &[(Vec<L>, u64)],
    ) -> Result<(), Error> {
        let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
        for (values, level) in rows {
            let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
            let level = i64::try_from(*level).unwrap_or(i64::MAX);
            family.get_metric_with_label_values(&values)?.set(level);
        }
        self.register(family, rows.is_empty())
    }

    /// All families, sorted by name.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.0.gather()
    }

    fn register<C: Collector + 'static>(&mut self, family: C, empty: bool) -> Result<(), Error> {
        // A family without rows has nothing to say; the text format has no place for it.
        if empty {
            return Ok(());
        }
        self.0.register(Box::new(family))
    }
}
