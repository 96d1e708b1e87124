//! KEDA and the HPA, simulated, beside what the real ones were measured to do.
