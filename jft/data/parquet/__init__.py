"""Parquet files of Hugging Face datasets."""
