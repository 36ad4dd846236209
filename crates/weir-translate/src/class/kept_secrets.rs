//! Secrets, encoded and kept with what they were made of.

use std::collections::HashMap;
use std::sync::Arc;

use weir_xds::resource::ResourceType;

use super::{Encoded, Work};
use crate::context::Context;
use crate::secrets::Wanted;

/// By their names.
#[derive(Default)]
pub(super) struct Secrets(HashMap<String, (Wanted, Arc<Encoded>)>);

impl Secrets {
    /// Makes anew what depends on what is not as it was. All that are asked for, as far as there is anything to make them of.
    pub fn refresh(&mut self, context: &Context<'_>, all: Vec<Wanted>, work: &mut Work) -> Vec<Arc<Encoded>> {
        let mut before = std::mem::take(&mut self.0);
        let mut made = Vec::with_capacity(all.len());
        for wanted in all {
            let kept = before.remove(&wanted.name).filter(|(of, _)| of.is(&wanted)).map(|(_, encoded)| encoded);
            let Some(encoded) = kept.or_else(|| make(context, &wanted, work)) else { continue };
            made.push(encoded.clone());
            self.0.insert(wanted.name.clone(), (wanted, encoded));
        }
        made
    }

    /// The same where no others are asked for than before, and all are still there: those alone that were made anew. None if it is
    /// not so, and then all is as it was.
    pub fn exchange(&mut self, context: &Context<'_>, all: Vec<Wanted>, work: &mut Work) -> Option<Vec<Arc<Encoded>>> {
        if all.len() != self.0.len() || !all.iter().all(|wanted| self.0.contains_key(&wanted.name)) {
            return None;
        }
        let changed = all.into_iter().filter(|wanted| self.0.get(&wanted.name).is_none_or(|(of, _)| !of.is(wanted)));
        let new: Vec<(Wanted, Arc<Encoded>)> =
            changed.map(|wanted| make(context, &wanted, work).map(|encoded| (wanted, encoded))).collect::<Option<_>>()?;
        let made = new.iter().map(|(_, encoded)| encoded.clone()).collect();
        self.0.extend(new.into_iter().map(|(wanted, encoded)| (wanted.name.clone(), (wanted, encoded))));
        Some(made)
    }
}

fn make(context: &Context<'_>, wanted: &Wanted, work: &mut Work) -> Option<Arc<Encoded>> {
    let secret = wanted.make(context)?;
    work.secrets += 1;
    Some(Encoded::new(ResourceType::Secret, &wanted.name, &secret))
}
