"""Declaration and two inventories in, plan document and manifests out. Decides WHAT; never touches data."""
