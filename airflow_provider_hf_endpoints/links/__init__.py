"""Extra links of the operators and the sensor."""
