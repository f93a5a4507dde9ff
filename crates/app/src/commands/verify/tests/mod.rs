mod breaches;
mod checks;
mod shop;
