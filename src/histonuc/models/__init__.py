"""What turns images into maps: networks, shipped and exported models, the engines that run them."""
