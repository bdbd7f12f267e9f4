"""The wire of Inborn: messages generated from the .proto files beside this module."""
