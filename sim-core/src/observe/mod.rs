//! What a run shows: captures, filters, journeys.
