"""What `lit-knn doctor` looks at: the machine, and with a configuration its images, database, disk and hours."""
