//! Segments, as they are written: rows are taken as they are read.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_128;

use super::super::ArchivedClick;
use super::super::merkle::user_key;
use super::super::walk::Key;
use super::segment::{Column, ELSEWHERE, Footer, Place, Run};
use super::{IndexError, IndexTo, SegmentInfo};
use crate::Coupon;

/// Rows of a segment, at most.
const SEGMENT_ROWS: u32 = 1 << 18;

/// Regions of a segment, at most.
const SEGMENT_REGIONS: usize = 255;

/// A worker's segments.
pub(in crate::reconcile) struct IndexWriter {
    to: IndexTo,
    worker: usize,
    columns: [Vec<u8>; Column::ALL.len()],
    footer: Footer,
    written: Vec<SegmentInfo>,
}

impl IndexWriter {
    pub(in crate::reconcile) fn new(to: IndexTo, worker: usize) -> Self {
        Self { to, worker, columns: Default::default(), footer: Footer::default(), written: Vec::new() }
    }

    /// Takes a row. Those of an ad should follow one another.
    pub(in crate::reconcile) fn push(
        &mut self,
        row: &ArchivedClick<'_>,
        ad: u64,
        minute: Option<u32>,
        key: Key,
        coupon: Coupon,
    ) -> Result<(), IndexError> {
        let region = match self.region(row.region) {
            Some(region) => region,
            None => {
                self.end_segment()?;
                self.region(row.region).unwrap_or_default()
            }
        };
        match self.footer.runs.last_mut().filter(|run| run.ad == ad) {
            Some(run) => run.rows += 1,
            None => self.footer.runs.push(Run { ad, rows: 1 }),
        }
        self.footer.rows += 1;
        let minute = minute.and_then(|minute| u16::try_from(minute).ok()).unwrap_or(ELSEWHERE);
        self.column(Column::Key).extend_from_slice(&bytes_of(key));
        self.column(Column::User).extend_from_slice(&bytes_of(user_key(row.click.user_id)));
        self.column(Column::Coupon).extend_from_slice(&coupon.0.to_le_bytes());
        self.column(Column::Minute).extend_from_slice(&minute.to_le_bytes());
        self.column(Column::Region).push(region);
        let place = self.column(Column::Place);
        place.extend_from_slice(&row.partition.to_le_bytes());
        place.extend_from_slice(&row.offset.to_le_bytes());
        self.address(row.click.ip_address);
        if self.footer.rows == SEGMENT_ROWS {
            self.end_segment()?;
        }
        Ok(())
    }

    /// Writes what is left, and hands out all segments.
    pub(in crate::reconcile) fn finish(&mut self) -> Result<Vec<SegmentInfo>, IndexError> {
        self.end_segment()?;
        Ok(std::mem::take(&mut self.written))
    }

    fn column(&mut self, column: Column) -> &mut Vec<u8> {
        &mut self.columns[column as usize]
    }

    /// The number of a region; none if there is no more room for it.
    fn region(&mut self, region: Option<&str>) -> Option<u8> {
        let Some(region) = region else { return Some(0) };
        let regions = &mut self.footer.regions;
        let at = regions.iter().position(|known| known == region).unwrap_or(regions.len());
        if at == SEGMENT_REGIONS {
            return None;
        }
        if at == regions.len() {
            regions.push(region.to_owned());
        }
        Some(at as u8 + 1)
    }

    /// An IPv4 address in IPv6 clothes is that address; a text that is no address matches no list.
    fn address(&mut self, text: Option<&str>) {
        let address = text.and_then(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical());
        let (v4, v6);
        let bytes: &[u8] = match address {
            None => &[],
            Some(IpAddr::V4(address)) => {
                v4 = address.octets();
                &v4
            }
            Some(IpAddr::V6(address)) => {
                v6 = address.octets();
                &v6
            }
        };
        self.column(Column::AddressKind).push(bytes.len() as u8);
        self.column(Column::Address).extend_from_slice(bytes);
    }

    fn end_segment(&mut self) -> Result<(), IndexError> {
        let mut footer = std::mem::take(&mut self.footer);
        if footer.rows == 0 {
            return Ok(());
        }
        let size: usize = self.columns.iter().map(Vec::len).sum();
        let mut bytes = Vec::with_capacity(size + footer.runs.len() * 16 + 1024);
        for column in &mut self.columns {
            let (start, hash) = (bytes.len() as u64, xxh3_128(column));
            footer.columns.push(Place { start, bytes: column.len() as u64, hash });
            bytes.append(column);
        }
        let start = bytes.len();
        footer.write(&mut bytes);
        let footer_hash = xxh3_128(bytes.get(start..).unwrap_or_default());
        let name = format!("{}{:04}-{:06}.segment", self.to.prefix, self.worker, self.written.len());
        let info = SegmentInfo { name, bytes: bytes.len() as u64, footer: start as u64, footer_hash };
        self.to.store.put(&info.name, bytes)?;
        self.written.push(info);
        Ok(())
    }
}

fn bytes_of(key: Key) -> [u8; 16] {
    (u128::from(key.0) | u128::from(key.1) << 64).to_le_bytes()
}
