"""Records to tables, figures and pages; what they are made of is in `lit_knn.report.results`."""
