//! The peer: session, reconciling of three trees, plan, guards.
