"""What a batch read and wrote, for Airflow's lineage. Nothing here decides or changes what a batch does."""
