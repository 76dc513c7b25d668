"""OpenADR 2.0b messages to and from XML; the only product code that knows openleadr."""
