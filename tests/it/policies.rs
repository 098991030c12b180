//! The admission policies and rights of the chart, each judged by a real API server.
