"""Records to tables, figures and pages; what they are made of is in :mod:`lit_knn.report.results`."""
