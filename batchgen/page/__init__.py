"""What people see of the nights: one page about the ledger, its clips and what needs somebody."""
