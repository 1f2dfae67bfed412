"""Values: frozen, validated, apart from files and frameworks."""
